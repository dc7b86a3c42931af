// Command netpol runs upstream's own NetworkPolicy end-to-end cases against the cluster of the kubeconfig given.
//
// The cases are not written here: they are those of k8s.io/kubernetes/test/e2e/network/netpol, registered with
// Ginkgo by the import. Which of them run is chosen with Ginkgo's own --ginkgo.focus and --ginkgo.skip flags.
package main

import (
	"flag"
	"os"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"
	_ "k8s.io/kubernetes/test/e2e/framework/debug/init"
	_ "k8s.io/kubernetes/test/e2e/framework/node/init"
	_ "k8s.io/kubernetes/test/e2e/network/netpol"
)

// outcome is what Ginkgo needs of a *testing.T: a place to record that a case failed.
type outcome struct{ failed bool }

func (o *outcome) Fail() { o.failed = true }

func main() {
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()
	framework.AfterReadingAllFlags(&framework.TestContext)
	gomega.RegisterFailHandler(framework.Fail)

	result := &outcome{}
	suite, reporter := framework.CreateGinkgoConfig()
	if !ginkgo.RunSpecs(result, "NetworkPolicy", suite, reporter) || result.failed {
		os.Exit(1)
	}
}
