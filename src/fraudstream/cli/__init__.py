"""The command line: a file for each group of commands, whose callbacks only parse, call and print.

main            the program, and the one place where an error is printed
options         options that several commands share
inputs          where commands get transactions and models from; memory: whether they fit
output          documents, tables and errors as they are printed
alert_text      an alert as plain text; alert_document is its JSON
questions       confirmation before something is deleted
stdio           stdin, stdout and stderr, even if they are closed or full

Every other file is the command of the same name; score_file is `score --data`.
"""
