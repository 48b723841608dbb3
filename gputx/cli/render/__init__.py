"""How events and reports look: a live display on a terminal, plain lines elsewhere, a receipt, tables."""
