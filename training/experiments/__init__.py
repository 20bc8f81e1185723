"""The paper's tables and figures as declared sets of runs: listed, executed, collected and drawn."""
