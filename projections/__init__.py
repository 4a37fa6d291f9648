"""Facts in, read-model rows out. Each module is one read model with its queries beside it.

Projecting is pure and looks at one fact alone; a query reads through projections.port.ReadModels.
"""
