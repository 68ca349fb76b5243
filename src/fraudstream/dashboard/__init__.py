"""The Streamlit application.

launch, server   starts it in a process of its own; asgi is the web application, app the script that runs for every session
overview         page: how much flows, how much of it is fraud
alerts           page: the review queue; case is one alert, tables lists them
desk             a reviewer's place in the queue: the open alert, and the ones before and after it
model            page: how well it finds fraud; evaluation, comparison are its parts, contest says which of two is better
pipeline         page: the progress of the streams
shell            what all pages share; gate asks for the password
charts, figures  one look for charts, numbers and times
"""
