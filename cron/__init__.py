"""When the DAGs run: native CronWorkflows that refer to the templates."""
