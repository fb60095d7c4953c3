"""`python -m distill.service --bundle DIR`."""

from distill.service.program import main

if __name__ == "__main__":
    main()
