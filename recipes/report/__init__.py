"""Tables and pictures from results.json files, which is all that it reads but for the YAML files' data sets."""
