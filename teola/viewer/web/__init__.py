"""The trace as one HTML file: content (JSON), the drawing's places, and what the page is made of.

content       the queries of a file      boxes       primitives that are drawn as one
difference    two files                  drawing     their places
web_page      the file                   *.js, *.css what it runs, in the order of `SCRIPTS`
"""
