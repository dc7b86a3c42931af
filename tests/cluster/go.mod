module cofferdam.dev/tests/cluster

go 1.26

require golang.org/x/sys v0.39.0
