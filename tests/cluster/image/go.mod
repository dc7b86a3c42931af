module cofferdam.dev/tests/cluster/image

go 1.26.0
