module cofferdam.dev/tests/origins

go 1.22
