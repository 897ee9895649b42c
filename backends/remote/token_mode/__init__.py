"""Token mode: the client keeps contexts as token ids, and a server is given ids and gives ids."""
