def draw(entries, began):
    return "<svg/>"
