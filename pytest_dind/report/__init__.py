"""The report of a run, behind `--dind-report`: its data, and the page that shows them."""
