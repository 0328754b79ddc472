"""An item's attributes, as `/embed_items`, `/items` and histories take them."""

from llmemb.errors import InvalidItemError
from llmemb.item import Attributes, parse_attributes
from llmemb.prompt import PromptSpec
from service.settings import Settings


def checked_attributes(raw: dict[str, object], prompt: PromptSpec, settings: Settings) -> Attributes:
    """Check attributes against the bundle's names and the limits.

    Raises:
        InvalidItemError: they cannot be used; says which and why.
    """
    attributes = parse_attributes(raw)
    prompt.check(attributes)
    for name, value in attributes.items():
        characters = len(value) if isinstance(value, str) else sum(map(len, value))
        if characters > settings.max_value_characters:
            raise InvalidItemError(
                f"attributes.{name}", f"has {characters} characters, at most {settings.max_value_characters} are taken"
            )
    return attributes
