-- Who works.
-- KEYS: workers, workers:about. ARGV: ms until a worker is forgotten, how many at most.
-- Returns {name, about, ms since its last beat, name …}, by name.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local live = redis.call('ZRANGEBYSCORE', KEYS[1], now - tonumber(ARGV[1]), '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local names, beats, out = {}, {}, {}
for i = 1, #live, 2 do
    names[#names + 1] = live[i]
    beats[live[i]] = tonumber(live[i + 1])
end
table.sort(names)
for _, name in ipairs(names) do
    out[#out + 1] = name
    out[#out + 1] = redis.call('HGET', KEYS[2], name) or ''
    out[#out + 1] = math.max(now - beats[name], 0)
end
return out
