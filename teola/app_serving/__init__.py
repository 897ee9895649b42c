"""Apps as an HTTP service: runs with their results and events.

app, routes    what is answered, and to whom   app_schema     an app as JSON schema
service        the apps of one server          served_app     one of them: its arguments
run, inbox     one run on its own loop         ended_runs     what is kept of those that ended
runs_api       POST .../runs, status, cancel   run_events     events of a run as a client sees them
chat_api       apps as models of OpenAI's API  final_text     the answer's own text among events
chat_arguments what of a chat an app is given  app_operations an app in the OpenAPI document
run_metrics    what is counted                 kv_collector   what engines say of their KV cache
"""
