"""``--type classify``: texts with one label each, or with several."""
