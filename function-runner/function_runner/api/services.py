"""What the API talks to."""

from dataclasses import dataclass
from datetime import datetime

from function_runner.aliases import Aliases
from function_runner.catalog import Catalog
from function_runner.docker_engine import ContainerEngine
from function_runner.followers import Followers
from function_runner.images import Images
from function_runner.invoker import Invoker
from function_runner.logs import LogStore
from function_runner.metrics import Metrics
from function_runner.pool import Pool
from function_runner.retention import Retention
from function_runner.settings import Settings
from function_runner.statistics import Statistics
from function_runner.store import Store
from function_runner.tracking import Tracking


@dataclass(frozen=True)
class Services:
    """The objects behind the routes; built and connected by ``create_app``."""

    settings: Settings
    catalog: Catalog
    store: Store
    logs: LogStore
    tracking: Tracking
    aliases: Aliases
    statistics: Statistics
    metrics: Metrics
    images: Images
    pool: Pool
    engine: ContainerEngine
    invoker: Invoker
    followers: Followers
    retention: Retention
    started_at: datetime
