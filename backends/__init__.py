"""The engines: everything that runs a primitive. Imports nothing else of teola's."""
