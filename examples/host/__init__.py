"""A small FastAPI core after the production core's conventions: plugins in files, connectors for each run of one."""
