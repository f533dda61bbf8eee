"""Which labels of a data set are wrong, every image judged with reasons; no benchmark run."""
