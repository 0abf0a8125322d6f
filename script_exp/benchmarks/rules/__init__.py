"""How answers are scored: official rules, metrics, and a judge."""
