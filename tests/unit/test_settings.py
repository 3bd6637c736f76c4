import pytest

from function_runner.errors import SettingsError
from function_runner.settings import Settings


def test_it_works():
    settings = Settings.from_environment({"STACK": "house", "MAX_TIMEOUT": "120", "ALLOWED_HOSTS": "Localhost, ml.lan"})
    assert settings.stack == "house"
    assert settings.max_timeout == 120
    assert settings.allowed_hosts == ("localhost", "ml.lan")


def test_an_empty_variable_counts_as_not_set():
    assert Settings.from_environment({"MAX_TIMEOUT": "", "QUEUE_LIMIT": " "}) == Settings.from_environment({})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MAX_TIMEOUT", "soon"),
        ("MAX_TIMEOUT", "0"),
        ("MAX_TIMEOUT", "-1"),
        ("MAX_TIMEOUT", "nan"),
        ("QUEUE_LIMIT", "1.5"),
        ("MAX_CONCURRENCY", "0"),
        ("STACK", "Big House"),
        ("RUNTIME_API_PORT", "70000"),
        ("RETAIN_RECORDS_DAYS", "-1"),
        ("RETAIN_LOGS_DAYS", "inf"),
        ("RETAIN_IMAGES_DAYS", "never"),
        ("RECORDS_MAX", "-1"),
        ("MIN_FREE_DISK_MB", "1.5"),
    ],
)
def test_nonsense_is_refused_and_named(variable, value):
    with pytest.raises(SettingsError, match=variable):
        Settings.from_environment({variable: value})


def test_all_complaints_come_at_once():
    with pytest.raises(SettingsError, match=r"QUEUE_LIMIT.*PIDS_LIMIT|PIDS_LIMIT.*QUEUE_LIMIT"):
        Settings.from_environment({"QUEUE_LIMIT": "x", "PIDS_LIMIT": "y"})


def test_the_default_timeout_fits_into_the_largest():
    with pytest.raises(SettingsError, match="DEFAULT_TIMEOUT must not be greater than MAX_TIMEOUT"):
        Settings.from_environment({"MAX_TIMEOUT": "10"})


def test_they_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Settings().stack = "other"


def test_a_synchronous_call_outlasts_everything_it_waits_for():
    settings = Settings()
    inner = settings.queue_timeout + settings.build_timeout + settings.init_timeout + settings.max_timeout
    assert settings.sync_wait_limit > inner


def test_more_callers_than_threads_are_refused():
    with pytest.raises(SettingsError, match="needs a thread"):
        Settings.from_environment({"QUEUE_LIMIT": "890", "MAX_CONCURRENCY": "4"})
