package build

import (
	"fmt"
	"io"
	"time"
)

// progress says that a step began, every fifteen seconds that it still goes on, and, when done is called, how it ended.
func progress(output io.Writer, step string) (done func(error)) {
	start := time.Now()
	fmt.Fprintf(output, "%s: building\n", step)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(15 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				fmt.Fprintf(output, "%s: still building, %s\n", step, elapsed(start))
			case <-stop:
				return
			}
		}
	}()
	return func(err error) {
		close(stop)
		<-stopped
		if err != nil {
			fmt.Fprintf(output, "%s: failed after %s\n", step, elapsed(start))
			return
		}
		fmt.Fprintf(output, "%s: built in %s\n", step, elapsed(start))
	}
}

func elapsed(start time.Time) time.Duration { return time.Since(start).Round(100 * time.Millisecond) }
