"""`fraudstream roles`: separate rights in PostgreSQL for those who look, review, train and store."""

import typer

from fraudstream.cli.output import Json, print_document, print_table

group = typer.Typer(
    help="PostgreSQL roles for those who read, review, train and write.", no_args_is_help=True
)


@group.command()
def sql() -> None:
    """Print the SQL that makes the roles, for a database administrator to read and run."""
    from fraudstream.settings import load
    from fraudstream.store import roles

    typer.echo(roles.script(load().postgres.database))


@group.command()
def apply(as_json: Json = False) -> None:
    """Make the roles, or bring their rights up to date; needs the owner of the tables, who may create roles.

    The roles have no login: `create role grafana login password '…' in role fraudstream_reader` makes one.
    """
    from fraudstream.settings import load
    from fraudstream.store import roles

    made = roles.apply(load().postgres)
    if as_json:
        print_document({"roles": [role.name for role in made]})
    else:
        print_table("Roles", ("role", "may"), [(role.name, role.meaning) for role in made])


def register(app: typer.Typer) -> None:
    """Add this group's commands to the program."""
    app.add_typer(group, name="roles")
