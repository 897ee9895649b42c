"""`teola top`: what servers of apps and of engines do now.

views     what is shown of a server        screen    how a terminal shows it
server    asks one for it, again and again keys      keys pressed meanwhile
"""
