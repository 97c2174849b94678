// Package e2e tries on a real cluster what clusters do to a proxy: rollouts, churn, lost nodes, a lost API server, bad
// objects, rotated Secrets; and counts what clients lose meanwhile. It installs the Helm chart with two replicas, puts an
// upstream Deployment behind it (package upstream), sends GETs and POSTs from outside the cluster, and writes every
// count into docs/reliability.md.
//
// `make e2e` makes a kind cluster, or takes the one that E2E_KUBECONFIG names. Then
//
//	E2E=1            lets TestCluster run; without, only what needs no cluster does
//	E2E_KUBECONFIG   names the cluster, whose nodes are containers of the Docker engine that DOCKER_HOST names
//	E2E_IMAGE        is the proxy's image, loaded into the nodes before; pingora-proxy:dev
//	E2E_KEEP=1       leaves everything installed, to look at
//
// and KUBEBUILDER_ASSETS, HELM and KUSTOMIZE say where the programs are, as hack/test-env.sh sets them. Every scenario
// makes sure of what it needs, so that each runs alone: make e2e TEST_FLAGS='-run TestCluster/drain'. The report is
// written when all have run. What the chart, the controller and the data plane do one by one is tested elsewhere.
package e2e
