"""Names of units, and words after which a number is a name."""

# by the one that stands for all
_UNITS = {
    "%": "% percent",
    "‰": "‰ permille",
    "$": "$ us$ usd dollar dollars",
    "€": "€ eur euro euros",
    "£": "£ gbp",
    "¥": "¥ jpy yen",
    "kg": "kg kilogram kilograms kilo kilos",
    "g": "g gram grams",
    "mg": "mg milligram milligrams",
    "t": "t ton tons tonne tonnes",
    "km": "km kilometer kilometers kilometre kilometres",
    "m": "m meter meters metre metres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "mm": "mm millimeter millimeters millimetre millimetres",
    "mi": "mi mile miles",
    "ft": "ft foot feet",
    "lb": "lb lbs pound pounds",
    "oz": "oz ounce ounces",
    "l": "l liter liters litre litres",
    "ml": "ml milliliter milliliters millilitre millilitres",
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
    "h": "h hr hrs hour hours",
    "ms": "ms millisecond milliseconds",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "yr yrs year years",
    "th": "st nd rd th",
    "°c": "°c celsius",
    "°f": "°f fahrenheit",
    "°": "° degree degrees",
    "km/h": "km/h kph kmh",
    "m/s": "m/s",
    "m²": "m² m2 sqm",
    "m³": "m³ m3",
    "km²": "km² km2",
    "w": "w watt watts",
    "v": "v volt volts",
    **{name: name for name in "kb mb gb tb kw mw hz khz mhz ghz mph".split()},
}
UNIT_OF = {name: unit for unit, names in _UNITS.items() for name in names.split()}
ESSENTIAL = frozenset({"%", "‰"})  # without it the number is another one

# after one of these a number is a name: 3.10 is not 3.1 there
NUMBERED = frozenset(
    (
        "version versions v release python java node django ruby php perl go rust swift kotlin ubuntu debian fedora android"
        " ios macos windows linux kernel postgres postgresql mysql sqlite redis mongodb nginx apache kubernetes docker"
        " pytorch tensorflow numpy pandas cuda usb http tls bluetooth chapter section figure table appendix paragraph"
        " article clause"
    ).split()
)
