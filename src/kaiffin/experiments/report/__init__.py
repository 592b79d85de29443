"""The report: what runs and their scores tell, as one page of its own."""
