// Package configs holds the configurations of the proxies that are measured side by side.
package configs
