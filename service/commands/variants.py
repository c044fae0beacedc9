"""`stillroom variants`: the Pareto table of a model."""

from service.commands.options import DEFAULT_SERVER, Json, ModelName, Server, connect


def variants(name: ModelName, server: Server = DEFAULT_SERVER, as_json: Json = False) -> None:
    """Show a model's variants: accuracy with its interval, latency, size, traffic, and why some were not accepted."""
    from service.commands import json_form, tables

    with connect(server) as client:
        found = client.variants(name)
    if as_json:
        json_form.write([json_form.variant(variant) for variant in found])
    else:
        tables.show_variants(name, found)
