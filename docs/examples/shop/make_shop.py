"""Makes the small shop of docs/own-catalogue.md: `python make_shop.py FOLDER` writes items.csv and interactions.csv.

Sixty goods that a shop for coffee, tea and kitchen might have, and two hundred customers, each with a taste or two.
Nobody real is in it. The same files come out each time.
"""

import csv
import random
import sys
from pathlib import Path

GOODS = {
    "espresso": (
        ("Napoli dark espresso beans", "Corso", "coffee|beans|dark roast"),
        ("Milano espresso blend", "Corso", "coffee|beans|medium roast"),
        ("Decaf espresso beans", "Corso", "coffee|beans|decaf"),
        ("Single origin Brazil espresso", "Hillside", "coffee|beans|medium roast"),
        ("Espresso machine Piccola", "Varese", "coffee|machine"),
        ("Hand grinder for espresso", "Tamp & Co", "coffee|grinder"),
        ("Tamper of beech, 58 mm", "Tamp & Co", "coffee|accessory"),
        ("Knock box", "Tamp & Co", "coffee|accessory"),
        ("Milk jug, 350 ml", "Varese", "coffee|milk|accessory"),
        ("Espresso cups, set of four", "Varese", "coffee|cups"),
    ),
    "filter": (
        ("Ethiopia Yirgacheffe filter beans", "Hillside", "coffee|beans|light roast"),
        ("Kenya AA filter beans", "Hillside", "coffee|beans|light roast"),
        ("Colombia filter beans", "Hillside", "coffee|beans|medium roast"),
        ("Pour-over dripper of glass", "Kumo", "coffee|dripper"),
        ("Pour-over dripper of porcelain", "Kumo", "coffee|dripper"),
        ("Paper filters, a hundred", "Kumo", "coffee|filters"),
        ("Gooseneck kettle", "Kumo", "coffee|tea|kettle"),
        ("Kitchen scale with timer", "Grammo", "coffee|scale"),
        ("French press, one litre", "Varese", "coffee|press"),
        ("Burr grinder, electric", "Grammo", "coffee|grinder"),
    ),
    "green tea": (
        ("Sencha, first flush", "Uji Gardens", "tea|green|japan"),
        ("Gyokuro", "Uji Gardens", "tea|green|japan"),
        ("Matcha for the ceremony", "Uji Gardens", "tea|matcha|japan"),
        ("Matcha for baking", "Uji Gardens", "tea|matcha|baking"),
        ("Genmaicha with roasted rice", "Uji Gardens", "tea|green|japan"),
        ("Dragon Well green tea", "West Lake", "tea|green|china"),
        ("Bamboo whisk", "Uji Gardens", "tea|matcha|accessory"),
        ("Matcha bowl", "Uji Gardens", "tea|matcha|cups"),
        ("Kyusu teapot of clay", "Uji Gardens", "tea|teapot"),
        ("Jasmine pearls", "West Lake", "tea|green|china"),
    ),
    "black tea": (
        ("Assam breakfast tea", "Morning & Son", "tea|black|india"),
        ("Darjeeling, second flush", "Morning & Son", "tea|black|india"),
        ("Earl Grey with bergamot", "Morning & Son", "tea|black|flavoured"),
        ("Lapsang souchong, smoked", "West Lake", "tea|black|china"),
        ("Masala chai mix", "Morning & Son", "tea|black|spices"),
        ("Teapot of cast iron", "Kumo", "tea|teapot"),
        ("Tea strainer of steel", "Morning & Son", "tea|accessory"),
        ("Tea cosy of wool", "Morning & Son", "tea|accessory"),
        ("Porcelain tea cups, set of six", "Morning & Son", "tea|cups"),
        ("Shortbread fingers", "Morning & Son", "biscuits|sweet"),
    ),
    "baking": (
        ("Strong white bread flour", "Old Mill", "baking|flour"),
        ("Wholemeal rye flour", "Old Mill", "baking|flour"),
        ("Spelt flour, fine", "Old Mill", "baking|flour"),
        ("Sourdough starter, dried", "Old Mill", "baking|sourdough"),
        ("Proving basket, one kilo", "Crumb", "baking|sourdough|accessory"),
        ("Bread knife with long teeth", "Crumb", "baking|knife"),
        ("Dough scraper", "Crumb", "baking|accessory"),
        ("Loaf tin, two pounds", "Crumb", "baking|tin"),
        ("Baking stone", "Crumb", "baking|oven"),
        ("Lame for scoring loaves", "Crumb", "baking|sourdough|accessory"),
    ),
    "chocolate": (
        ("Dark chocolate, 70 per cent", "Cacaoteca", "chocolate|dark"),
        ("Dark chocolate, 85 per cent", "Cacaoteca", "chocolate|dark"),
        ("Milk chocolate with hazelnut", "Cacaoteca", "chocolate|milk|nuts"),
        ("White chocolate with raspberry", "Cacaoteca", "chocolate|white|fruit"),
        ("Drinking chocolate from Mexico", "Cacaoteca", "chocolate|drink|spices"),
        ("Cocoa powder for baking", "Cacaoteca", "chocolate|baking"),
        ("Truffles, box of twelve", "Cacaoteca", "chocolate|sweet|present"),
        ("Candied orange in chocolate", "Cacaoteca", "chocolate|dark|fruit"),
        ("Chocolate couverture, a kilo", "Cacaoteca", "chocolate|baking"),
        ("Marzipan loaf", "Cacaoteca", "sweet|nuts|present"),
    ),
}
CUSTOMERS = 200
FIRST_ORDER = 1_700_000_000


def main() -> None:
    """Write both files into the folder that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    random_ = random.Random(7)
    tastes = {taste: [f"{taste[0]}{taste[-1]}{n:02}" for n in range(1, 11)] for taste in GOODS}
    write(
        folder / "items.csv",
        ("sku", "name", "maker", "tags"),
        [(sku, *good) for taste, goods in GOODS.items() for sku, good in zip(tastes[taste], goods, strict=True)],
    )
    orders = [order for number in range(1, CUSTOMERS + 1) for order in orders_of(number, tastes, random_)]
    write(folder / "interactions.csv", ("customer", "sku", "bought_at"), orders)


def orders_of(number: int, tastes: dict[str, list[str]], random_: random.Random) -> list[tuple[str, str, int]]:
    """Draw what one customer buys: mostly of the own tastes, one thing after another, nothing twice."""
    mine = random_.sample(list(tastes), 2)
    time = FIRST_ORDER + random_.randrange(90 * 86_400)
    bought: list[str] = []
    for _ in range(random_.randint(7, 14)):
        taste = random_.choices([*mine, random_.choice(list(tastes))], weights=(6, 3, 1))[0]
        left = [sku for sku in tastes[taste] if sku not in bought]
        if left:
            # The first goods of a taste sell best.
            bought.append(random_.choices(left, weights=[1 / (place + 1) for place in range(len(left))])[0])
    return [(f"customer-{number:03}", sku, time + place * 43_200) for place, sku in enumerate(bought)]


def write(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]] | list[tuple[str, str, int]]) -> None:
    """Write a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
