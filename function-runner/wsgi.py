"""What gunicorn serves: ``gunicorn -c gunicorn.conf.py wsgi:app``."""

from function_runner.app import create_app

app = create_app()
