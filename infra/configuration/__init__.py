"""What settings are made of: the environment, files of credentials, the data folder."""
