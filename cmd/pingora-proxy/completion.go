package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
)

// choices are the values of globals that have few of them.
func choices() map[string][]string {
	yes := []string{"true", "false"}
	return map[string][]string{
		"admin.dashboard": yes, "admin.pprof": yes, "limits.via": yes,
		"admin.bind_address": {"off"}, "metrics.bind_address": {"off"}, "access_log.path": {"stdout", "stderr", "off"},
		"access_log.format": {string(settings.AccessLogJSON), string(settings.AccessLogConsole)},
		"tracing.protocol":  {string(settings.TracingGRPC), string(settings.TracingHTTP)},
		"tracing.propagation": {
			string(settings.PropagationW3C), string(settings.PropagationB3),
		},
	}
}

// completeGlobals says what may follow the flags of the globals.
func completeGlobals(cmd *cobra.Command) {
	known := choices()
	for _, setting := range standalone.Settings() {
		switch words := known[setting.Key]; {
		case strings.HasSuffix(setting.Key, ".file"): // a file of any kind, which shells complete by themselves
		case setting.Key == "access_log.path":
			_ = cmd.RegisterFlagCompletionFunc(flagName(setting.Key), cobra.FixedCompletions(words, cobra.ShellCompDirectiveDefault))
		default:
			_ = cmd.RegisterFlagCompletionFunc(flagName(setting.Key), cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
		}
	}
}

// completeFlags says what may follow the flags of a command: files of a kind, one of some words, or nothing that could be
// listed.
func completeFlags(cmd *cobra.Command, files []string, words map[string][]string, others ...string) {
	for _, name := range files {
		_ = cmd.MarkFlagFilename(name, "yaml", "yml")
	}
	for name, choices := range words {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(choices, cobra.ShellCompDirectiveNoFileComp))
	}
	for _, name := range others {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
}
