"""The process of `lnp`: what ends it is watched for before anything large is imported."""

from lnp_edge.base import stopping


def main() -> int:
    try:
        stopping.guard()
        from lnp_edge import cli

        return cli.main()
    except KeyboardInterrupt as e:
        return stopping.leave(e)
    finally:
        stopping.release()


if __name__ == "__main__":
    raise SystemExit(main())
