"""`fraudstream roles`: PostgreSQL roles for those who read, review, train and write."""

import typer

from fraudstream.cli.output import Json, print_document, print_table

group = typer.Typer(
    name="roles", help="PostgreSQL roles for those who read, review, train and write.", no_args_is_help=True
)


@group.command()
def sql() -> None:
    """Print the SQL that creates the roles, for a database administrator to read and run."""
    from fraudstream.settings import load
    from fraudstream.store import roles

    typer.echo(roles.script(load().postgres.database))


@group.command()
def apply(as_json: Json = False) -> None:
    """Create the roles, or update their rights; needs the owner of the tables, with the right to create roles.

    The roles cannot log in: `create role grafana login password '…' in role fraudstream_reader` creates one that can.
    """
    from fraudstream.settings import load
    from fraudstream.store import roles

    made = roles.apply(load().postgres)
    if as_json:
        print_document({"roles": [role.name for role in made]})
    else:
        print_table("Roles", ("role", "may"), [(role.name, role.meaning) for role in made])
