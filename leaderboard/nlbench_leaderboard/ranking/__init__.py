"""From records to ranked boards: grouping, statistics and the rules. Nothing is drawn here."""
