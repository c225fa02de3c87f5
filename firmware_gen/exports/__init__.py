"""The network as a library in the layout of an ecosystem, one per file. cmake.py is the example to follow.

Adding a file adds a choice of `lnp generate --as`; `_` in its name is `-` there. It defines

    TITLE                  what the README calls it
    files(library) -> {path: text}
                           the sources and headers in their places, what the ecosystem reads, and an example
    use(library) -> Markdown
                           how a project takes the library

firmware_gen/library.py has what all of them share, adds README.md and LICENSE, and says what an example acts on.
"""
