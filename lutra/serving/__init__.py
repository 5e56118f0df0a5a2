"""`lutra serve`: a model's circuit behind HTTP, for clients that keep their keys.

What clients send goes to files, which only processes of their own parse (`worker`): native code may
end those over damaged messages, and another takes its place. Nothing is unpickled anywhere.
"""
