"""What the routes answer, as types for the OpenAPI document. The tests hold answers to them."""
