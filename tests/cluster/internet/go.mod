module cofferdam.dev/tests/cluster/internet

go 1.26.0
