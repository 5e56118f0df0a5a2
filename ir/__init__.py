"""The intermediate representation: types, operations, graphs, text and reference meaning.

Imports none of Lutra's other packages.
"""
