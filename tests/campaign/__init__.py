"""A hundred faults in a row against the whole road, and a count of what they cost: `make faults`.

road      the services and the commands, as real processes
proxy     a wire to PostgreSQL that can be cut and slowed
faults    what is done to them, drawn from a seed
verdict   the topics against the tables, id by id
run       the campaign and its report
"""
