// Command image makes an OCI image archive out of files, without a container engine and without a registry.
//
//	image --output cofferdam.tar --reference cofferdam.test/cofferdam:dev \
//	      --entrypoint /cofferdam --user 65532:65532 file:target/cofferdam:/cofferdam:0755
//
// Each argument after the flags is one layer:
//
//	tar:FILE             a tar archive as it is, for example a root file system
//	dir:PATH             what is in a directory
//	file:SOURCE:PATH:MODE one file
//
// The same input gives the same bytes: entries are sorted, owned by the ids that they have, without names, and as old
// as the epoch.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// repeated is a flag that may be given more than once.
type repeated []string

func (r *repeated) String() string { return strings.Join(*r, " ") }

func (r *repeated) Set(value string) error {
	*r = append(*r, value)
	return nil
}

func main() {
	var image Image
	var entrypoint, command, env repeated
	output := flag.String("output", "", "the archive to write")
	flag.StringVar(&image.Reference, "reference", "", "the image's full name with its tag")
	flag.StringVar(&image.Architecture, "architecture", runtime.GOARCH, "the machine that the image is for, as Go names it")
	flag.StringVar(&image.User, "user", "", "user[:group] that the image runs as")
	flag.StringVar(&image.WorkingDirectory, "workdir", "", "the directory in which the image starts")
	flag.Var(&entrypoint, "entrypoint", "a word of the entry point; repeat for more")
	flag.Var(&command, "command", "a word of the default arguments; repeat for more")
	flag.Var(&env, "env", "NAME=value; repeat for more")
	flag.Parse()
	image.Entrypoint, image.Command, image.Env = entrypoint, command, env
	if err := build(image, *output, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// build reads the layers and writes the archive; it tells the image's digest and size.
func build(image Image, output string, arguments []string) error {
	if output == "" || len(arguments) == 0 {
		return fmt.Errorf("--output and at least one layer are needed")
	}
	if err := image.check(); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	var layers []Layer
	for _, argument := range arguments {
		entries, err := read(argument)
		if err != nil {
			return fmt.Errorf("%s: %w", argument, err)
		}
		layer, err := entries.pack(scratch)
		if err != nil {
			return fmt.Errorf("%s: %w", argument, err)
		}
		layers = append(layers, layer)
	}
	digest, size, err := image.Write(output, layers)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s %s %.1f MiB\n", image.Reference, digest, float64(size)/(1<<20))
	return nil
}
