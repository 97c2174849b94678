package syntax

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var groupReference = regexp.MustCompile(`\$(?:\$|\{\d+\}|\d+)?`)

// CheckGroups says what is wrong with the references to groups in a path: where the path conditions of a route are all
// regular expressions they refer to those, else there must be none. Faulty patterns are left out, as missing ones are.
func CheckGroups(template string, regex bool, patterns []string) string {
	for _, ref := range groupReference.FindAllString(template, -1) {
		group, err := strconv.Atoi(strings.Trim(ref, "${}"))
		switch {
		case !regex && err == nil:
			return "`" + ref + "` needs every path match of the route to be of type `Regex`"
		case !regex, ref == "$$":
			continue
		case err != nil:
			return "a dollar sign must be written as `$$`"
		}
		for _, pattern := range patterns {
			if CheckRegex(pattern) != "" {
				continue
			}
			re, err := regexp.Compile(pattern)
			if err == nil && (group < 1 || group > re.NumSubexp()) {
				return fmt.Sprintf("`%s` is no group of `%s`, which has %d", ref, pattern, re.NumSubexp())
			}
		}
	}
	return ""
}
