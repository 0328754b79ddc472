"""The text that the LLM reads for an item: the prompt that trains is the prompt that serves."""

from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter

from llmemb.errors import InvalidItemError
from llmemb.item import Attributes, AttributeValue

INSTRUCTION = "The {domain} item has the following attributes: \n"
"""The instruction of the paper, by which every prompt begins unless the configuration has another."""


def check_instruction(template: str) -> str:
    """Return an instruction as it is, if `PromptSpec` can fill it in.

    Args:
        template: any text, empty too; `{domain}` stands for the domain, and a brace is written twice.

    Raises:
        ValueError: braces do not match, or enclose something else.
    """
    try:
        fields = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ValueError(
            f"the instruction {template!r} is no template: {error}; write {{{{ or }}}} for a brace"
        ) from error
    if any(field != ("domain", "", None) for field in fields):
        raise ValueError(
            f"the instruction {template!r} has a field other than {{domain}}; write {{{{ or }}}} for a brace"
        )
    return template


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """How a catalogue's items become prompts.

    Args:
        domain: what the items are, such as "movie".
        attribute_names: every attribute the catalogue knows, in the order of the prompt.
        max_value_characters: values are cut to this length.
        instruction: the text before the attributes, see `check_instruction`.
    """

    domain: str
    attribute_names: tuple[str, ...]
    max_value_characters: int = 100
    instruction: str = INSTRUCTION

    def check(self, attributes: Attributes) -> None:
        """Refuse attributes that the catalogue does not know.

        Raises:
            InvalidItemError: names the first unknown attribute and lists the known ones.
        """
        known = set(self.attribute_names)
        for name in attributes:
            if name not in known:
                raise InvalidItemError(
                    f"attributes.{name}", f"unknown attribute; this catalogue knows {', '.join(self.attribute_names)}"
                )

    @property
    def beginning(self) -> str:
        """The text that every item with the first attribute has before that attribute's value."""
        return self.render_in_order({name: "" for name in self.attribute_names[:1]}, self.attribute_names[:1])

    def render(self, attributes: Attributes) -> str:
        """Make the prompt of an item, its attributes in the catalogue's order, whatever order they came in."""
        return self.render_in_order(attributes, [name for name in self.attribute_names if name in attributes])

    def render_in_order(self, attributes: Attributes, names: Sequence[str]) -> str:
        """Make a prompt of the named attributes in the given order.

        Source: LLMEmb, section "Supervised contrastive fine-tuning", the instruction and attribute template.
        """
        values = "; ".join(f"{name} is {self._clean(attributes[name])}" for name in names)
        return self.instruction.format(domain=self.domain) + values

    def _clean(self, value: AttributeValue) -> str:
        text = value if isinstance(value, str) else ", ".join(value)
        # ";" and the newline separate the parts of the prompt, so they must not come from a value.
        return " ".join(text.replace(";", ".").split())[: self.max_value_characters]
