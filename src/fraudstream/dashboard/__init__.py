"""The Streamlit application.

launch, server   starts it in a process of its own; app is the script that runs for every session
overview         page: how much flows, how much of it is fraud
alerts           page: the review queue; case is one alert, tables lists them
desk             a place in it: which alert is open, which come next, for which one a verdict was meant
model            page: how well it finds fraud; evaluation, comparison are its parts, contest says which of two is better
pipeline         page: how far the streams are
shell            what every page has around it; gate asks for the password
charts, figures  one look for charts, numbers and times
"""
