"""Apps as an HTTP service: runs with their results and events.

app            routes, and who may ask         app_schema     an app as JSON schema
service        the apps of one server          served_app     one of them: its arguments
run, inbox     one run on its own loop         ended_runs     what is kept of those that ended
runs_api       POST .../runs, status, cancel   run_events     events of a run as a client sees them
"""
