// Reads simulations from standard input, one JSON array, and writes the array of their results:
// `Allowed`, `ExplicitlyDenied`, `ImplicitlyDenied`, or `error: …`.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { readFileSync } from 'node:fs'

const require = createRequire(pathToFileURL(process.argv[2] + '/'))
const { runSimulation } = await import(pathToFileURL(require.resolve('@cloud-copilot/iam-simulate')).href)
const results = []
for (const simulation of JSON.parse(readFileSync(0, 'utf8'))) {
  const answer = await runSimulation(simulation, {})
  results.push(answer.resultType === 'error' ? `error: ${JSON.stringify(answer.errors)}` : answer.overallResult)
}
console.log(JSON.stringify(results))
