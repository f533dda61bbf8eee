"""Which labels of a data set are wrong: every image judged; no training unless asked."""
